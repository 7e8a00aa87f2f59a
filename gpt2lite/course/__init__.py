"""Teaching aids of the notebooks: set-up, checks, exercises, widgets, figures."""
