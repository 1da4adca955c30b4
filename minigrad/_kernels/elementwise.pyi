from typing import Any

from numpy.typing import NDArray

from minigrad._kernels.kernel import Kernel

class Elementwise(Kernel):
    """One elementwise function of one or two operands."""

neg: Elementwise
abs: Elementwise
square: Elementwise
sqrt: Elementwise
relu: Elementwise
exp: Elementwise
log: Elementwise
tanh: Elementwise
sigmoid: Elementwise
add: Elementwise
sub: Elementwise
mul: Elementwise
div: Elementwise
maximum: Elementwise
minimum: Elementwise
relu_grad: Elementwise
tanh_grad: Elementwise
leaky_relu: Elementwise
pow: Elementwise

def add_(total: NDArray[Any], term: NDArray[Any]) -> NDArray[Any]: ...
def bias_relu(x: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]: ...
