from tests.foreign.wire import *
