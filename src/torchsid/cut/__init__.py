"""Cut any classifier into stages: where (`cuts`, `balance`), how (`boundary`, `graph`), and with which heads (`build`)."""
