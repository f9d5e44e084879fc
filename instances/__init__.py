"""What builds the instances of the tasks: planted networks, digits and photographs, images as functions, the files."""
