#include <fmt/format.h>

#include <cstdio>

#include "bhyve/vm.hpp"
#include "help.hpp"
#include "options.hpp"

namespace {

int complain(const std::string& sentence) {
  fmt::print(stderr, "bhyveload: {}\n", sentence);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  using Action = tool::LoadOptions::Action;
  const auto options = tool::parse_load_options(argc, argv);
  if (!options) return complain(options.error().message);
  switch (options->action) {
    case Action::help: tool::print_load_help(); return 0;
    case Action::version: fmt::print("bhyveload {}\n", bhyve::version()); return 0;
    case Action::load: break;
  }
  const auto loaded = bhyve::load_vm(options->config);
  return loaded ? 0 : complain(loaded.error().message);
}
