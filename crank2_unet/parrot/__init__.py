"""CCP4's Parrot as an engine, and masks for a Parrot that runs by itself."""
