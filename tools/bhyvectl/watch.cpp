#include "watch.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <thread>

namespace tool {

bhyve::Result<void> watch(const CtlOptions& options, bhyve::Result<void> (*look)(Session&)) {
  const bool screen = !options.json && ::isatty(STDOUT_FILENO);
  while (true) {
    if (screen) std::fputs("\033[H\033[2J", stdout);  // home, clear
    Session session(options);
    if (auto done = look(session); !done) return done;
    if (options.json) fmt::print("{}\n", session.json().dump());
    else if (!screen) fmt::print("\n");
    // A reader that has gone ends the loop.
    if (std::fflush(stdout) != 0) return {};
    std::this_thread::sleep_for(std::chrono::duration<double>(*options.watch));
  }
}

}  // namespace tool
