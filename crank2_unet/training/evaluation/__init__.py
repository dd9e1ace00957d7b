"""How good masks, phases and judgements are on structures not trained on."""
