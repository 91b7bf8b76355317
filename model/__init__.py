"""Tensors only: the factorization, its solvers, and the ratings that they train on."""
