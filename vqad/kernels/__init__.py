"""Operations written for speed, each beside the plain one that it equals."""
