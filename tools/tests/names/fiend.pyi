from tests.probing.fiend import *
