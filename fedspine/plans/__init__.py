"""Plans that come with fedspine."""
