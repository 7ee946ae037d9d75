// oneDNN's interface without what is experimental: other builds of oneDNN 3 than that whose headers
// these are may lack it.
#pragma once

#include "dnnl_config.h"
#undef DNNL_EXPERIMENTAL_SPARSE
#include "dnnl.hpp"
