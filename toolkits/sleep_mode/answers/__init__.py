"""How a question is answered from memory: templates, the texts they compose, the facts every number in them is."""
