"""What is compiled for a CPU, each part beside the plain PyTorch form that it is compared with."""
