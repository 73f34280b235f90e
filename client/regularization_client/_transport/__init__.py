"""How a call is carried out: which way, to which server, again where one goes away; and what comes back."""
