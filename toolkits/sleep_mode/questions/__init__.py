"""What a question asks, read without a model: slots, words, phrasings, and which tokens are meant."""
