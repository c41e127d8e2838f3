"""What needs a CUDA device: `python -m tests.gpu`, and its checks of correctness as tests."""
