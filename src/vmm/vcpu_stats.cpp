#include "vmm/vcpu_stats.hpp"

namespace bhyve::vmm {
namespace {

constexpr std::array<std::string_view, stat_count> texts = {
    "vcpu migration across host cpus",
    "total number of vm exits",
    "number of times hlt was intercepted",
    "number of times rdmsr was intercepted",
    "number of times wrmsr was intercepted",
    "number of times pause was intercepted",
    "number of times in/out was intercepted",
    "number of monitor trap exits",
    "vm exits due to nested page fault",
    "vm exits for instruction emulation",
    "number of vm exits for unknown reason",
    "number of times idle requested at exit",
    "number of times rendezvous pending at exit",
    "number of vm exits handled in userspace",
    "vcpu total runtime",
    "number of ticks vcpu was idle",
    "number of NMIs delivered to vcpu",
    "number of ExtINTs delivered to vcpu",
};

}  // namespace

std::string_view stat_text(Stat stat) {
  return texts[static_cast<usize>(stat)];
}

}  // namespace bhyve::vmm
