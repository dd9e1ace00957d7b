"""The program unet-parrot, which stands in Parrot's place."""
