"""What a surface is made of and how it looks, before it has texture coordinates."""
