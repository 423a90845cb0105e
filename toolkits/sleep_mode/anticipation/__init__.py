"""What will be asked, and the answers that stand ready for it: the log of questions, the choice, the shelf."""
