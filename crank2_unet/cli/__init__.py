"""The command crank2-unet."""
