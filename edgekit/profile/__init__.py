"""How a target profile is read: the built-in ones and the user's own, closed, with the rungs that ladders share."""
