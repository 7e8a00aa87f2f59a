"""The teaching aids of the notebooks: set-up, checks, widgets and figures. The core does not know them."""
