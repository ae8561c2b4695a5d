// bhyve, and two threads beside it that do to its guest's memory what others may do from outside while it
// runs: one takes the dirty log of all of it again and again, the other unmaps, write-protects, promotes
// and invalidates at random. Takes bhyve's command line; at the end it prints what happened.
#include <fmt/format.h>

#include <atomic>
#include <cstdio>
#include <random>
#include <thread>
#include <vector>

#include "base/log.hpp"
#include "machine/machine.hpp"
#include "options.hpp"

namespace {

using namespace bhyve;
using namespace std::chrono_literals;

struct Counts {
  std::atomic<u64> logs{0}, dirty{0}, changes{0}, failures{0};
};

void take_logs(mem::Vmspace& space, const std::atomic<bool>& stop, Counts& counts) {
  std::vector<u64> bits(space.lowmem() >> page_shift >> 6);
  while (!stop) {
    if (!space.take_dirty(Gpa(0), bits)) ++counts.failures;
    for (const u64 word : bits) counts.dirty += static_cast<u64>(std::popcount(word));
    ++counts.logs;
    std::this_thread::sleep_for(50ms);
  }
}

void change_mappings(mem::Vmspace& space, const std::atomic<bool>& stop, Counts& counts) {
  std::mt19937_64 random(std::random_device{}());
  const u64 pages = space.lowmem() >> page_shift;
  while (!stop) {
    const u64 page = random() % pages << page_shift, bytes = (1 + random() % 64) << page_shift;
    switch (random() % 4) {
      case 0: space.pmap().remove(page, bytes); break;
      case 1: space.pmap().write_protect(page, bytes); break;
      case 2: space.pmap().invalidate_ept(); break;
      default: (void)space.pmap().promote(page); break;
    }
    ++counts.changes;
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 4000));
  }
}

void print(const mem::Vmspace& space, const Counts& counts) {
  const mem::VmspaceStats s = space.stats();
  fmt::print("PESTERED logs={} dirty={} changes={} written={} read={} rescued={} clean={} zero={}"
             " promotions={} demotions={} invalidations={} holds={} failures={}\n",
             counts.logs.load(), counts.dirty.load(), counts.changes.load(), s.pager.written,
             s.pager.read, s.pager.rescued, s.pager.clean_drops, s.pager.zero_drops,
             s.pmap.promotions, s.pmap.demotions, s.pmap.invalidations, space.holds_outstanding(),
             counts.failures.load());
}

int complain(const std::string& sentence) {
  fmt::print(stderr, "pestered: {}\n", sentence);
  return tool::status_error;
}

}  // namespace

int main(int argc, char** argv) {
  log_init();
  const auto options = tool::parse_options(argc, argv);
  if (!options) return complain(options.error().message);
  auto machine = machine::Machine::create(options->config, nullptr);
  if (!machine) return complain(machine.error().message);
  mem::Vmspace& space = (*machine)->vm().space();
  std::atomic<bool> stop{false};
  Counts counts;
  std::thread logs([&] { take_logs(space, stop, counts); });
  std::thread changes([&] { change_mappings(space, stop, counts); });
  const auto result = (*machine)->run();
  stop = true;
  logs.join();
  changes.join();
  print(space, counts);
  if (!result) return complain(result.error().message);
  if (counts.failures || space.holds_outstanding()) return complain("see the line above");
  return result->how == abi::SuspendHow::poweroff ? 1 : tool::status_error;
}
