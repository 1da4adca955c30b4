"""Published weights, without the framework that wrote them.

Design: ``load_weights`` puts the weights of a file into a net; ``read_weights`` gives the arrays
under the names that the file uses.  Nothing in a file is ever executed.  Reading order:
``load.py``, ``key_maps.py``, ``read.py``, ``torch_files.py``, ``tensors.py``, ``pickled.py``.

Images must be prepared as those of the training were.  torchvision and akamaster: RGB on [0, 1],
normalized with mean (.485, .456, .406) and deviation (.229, .224, .225).  torchvision's published
GoogLeNet was trained on [-1, 1]: build it with ``transform_input=True``, and expect nothing of its
auxiliary heads, which were never trained.  Caffe: ``caffe.PIXELS``.
"""

from .key_maps import MAPS
from .load import load_weights
from .read import Weights, read_weights

__all__ = ["MAPS", "Weights", "load_weights", "read_weights"]
