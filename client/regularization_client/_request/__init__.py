"""What a call asks for: from names, arrays and options to a header and elements. Nothing here sends any."""
