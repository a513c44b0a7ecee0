Lbfgs = None
