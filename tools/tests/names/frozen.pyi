from tests.watch.frozen import *
