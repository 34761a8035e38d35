"""The worker of one machine: the agent, its slots, and the ampoule children behind them."""
