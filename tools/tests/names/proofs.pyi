from tests.proofs.proofs import *
