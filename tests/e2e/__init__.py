"""The real template and the real zip, deployed into a stand-in for AWS."""
