"""Operations that the model is built on, and their faster versions."""
