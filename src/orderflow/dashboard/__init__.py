"""The dashboard: a live web page that shows the values of `orderflow.insights`."""
