"""What is handed over beside the artifact: files for those who build the device's software."""
