from tests.results.stories import *
