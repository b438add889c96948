// What is done to the gate of an MLP. Both are x times a sigmoid, as (1 + tanh(y)) / 2 is sigmoid(2 y):
//
//     silu(x) = x sigmoid(x)    gelu(x) = x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))
#pragma once

enum class Activation { Silu, Gelu };

template <Activation activation> __device__ float activated(float x) {
    float y = x;
    if constexpr (activation == Activation::Gelu) y = 1.5957691216f * (x + 0.044715f * x * x * x);
    // exp overflows to infinity for very negative y, and x / infinity is the zero it should be.
    return __fdividef(x, 1.f + __expf(-y));
}
