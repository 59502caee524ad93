from tests.profiles.waiver_texts import *
