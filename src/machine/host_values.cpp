#include "bhyve/host_values.hpp"

#include <cpuid.h>

#include "base/bits.hpp"
#include "machine/machine_config.hpp"
#include "pmap/mapping.hpp"

namespace bhyve {
namespace {

/// CPUID.7.0:EBX[10].
bool host_has_invpcid() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit(10));
}

/// The layout of hw.vmm.ept.pmap_flags (facts sheet 7.1); no interrupt kicks our vCPUs.
u64 pmap_flags(const pmap::PmapFlags& flags) {
  return (flags.superpages ? bit(8) : 0) | (flags.ad_bits ? 0 : bit(9)) |
         (flags.exec_only ? bit(10) : 0);
}

}  // namespace

std::vector<HostValue> host_values() {
  const pmap::PmapFlags ept{};
  return {
      {"hw.vmm.ept.pmap_flags", "what nested tables can do unless a VM says otherwise",
       pmap_flags(ept), ""},
      {"hw.vmm.ept.use_exec_only", "pages may be executable alone (memory.ept_exec_only)",
       ept.exec_only, ""},
      {"hw.vmm.ept.use_hw_ad_bits", "accessed and dirty flags by hardware (memory.ept_ad)",
       ept.ad_bits, ""},
      {"hw.vmm.ept.use_superpages", "2 MiB pages (memory.ept_superpages)", ept.superpages, ""},
      {"hw.vmm.maxcpu", "virtual CPUs of one VM, at most", machine::max_vcpus, ""},
      {"vm.pmap.ad_emulation_superpage_promotions", "promotions after an emulated flag", 0,
       "EPT promotions by emulation"},
      {"vm.pmap.invpcid_works", "this host's CPU has INVPCID", host_has_invpcid(), ""},
      {"vm.pmap.num_accessed_emulations", "accessed flags that were emulated", 0,
       "EPT accessed bit emulations"},
      {"vm.pmap.num_dirty_emulations", "dirty flags that were emulated", 0,
       "EPT dirty bit emulations"},
      {"vm.pmap.num_superpage_accessed_emulations", "the same of accessed 2 MiB pages", 0,
       "EPT superpage accessed bit emulations"},
      {"vm.pmap.pde.demotions", "2 MiB pages that were split", 0, "EPT superpage demotions"},
      {"vm.pmap.pde.mappings", "2 MiB pages that were mapped at once", 0,
       "EPT superpage mappings"},
      {"vm.pmap.pde.p_failures", "attempts to promote that failed", 0,
       "EPT superpage promotion failures"},
      {"vm.pmap.pde.promotions", "512 pages that became one of 2 MiB", 0,
       "EPT superpage promotions"},
  };
}

}  // namespace bhyve
