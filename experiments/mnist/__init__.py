"""Does compression help or hurt the training of an energy on pictures of 28 x 28?"""
