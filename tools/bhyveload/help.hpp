#pragma once

namespace tool {

/// The whole help on standard output.
void print_load_help();

}  // namespace tool
