"""Small models, data sets and media that several test modules share."""
