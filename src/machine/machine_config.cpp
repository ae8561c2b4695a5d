#include "machine/machine_config.hpp"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/ranges.h>

#include "base/bits.hpp"
#include "bhyve/devices.hpp"
#include "dev/testdev/pci_testdev.hpp"
#include "machine/firmware_tables.hpp"
#include "machine/lpc_config.hpp"
#include "machine/sg_memory.hpp"
#include "platform/layout.hpp"

namespace bhyve::machine {
namespace {

namespace layout = platform::layout;

/// Collects the first failure, so that a list of variables reads as a list.
class Reader final {
 public:
  explicit Reader(const Config& config) : config_(config) {}

  void read(const std::string& name, bool& into) { keep(config_.get_bool(name, into), into); }
  void read(const std::string& name, std::string& into) { keep(config_.get_text(name, into), into); }
  void read(const std::string& name, u64& into) { keep(config_.get_integer(name, into), into); }
  void read_size(const std::string& name, u64& into) { keep(config_.get_size(name, into), into); }
  /// A whole number in 1..65535; 0 stays when the variable is not set.
  void read_count(const char* name, u32& into) {
    u64 value = 0;
    keep(config_.get_integer(name, 0), value);
    if (!config_.has(name)) return;
    if (value < 1 || value > 65535)
      refuse(fail(EINVAL, "{}={}: expected 1 to 65535", name, config_.raw(name).value_or("")));
    into = static_cast<u32>(value);
  }
  /// One of the given words.
  void read_word(const char* name, std::string& into, std::vector<std::string_view> words) {
    read(name, into);
    if (std::find(words.begin(), words.end(), into) == words.end())
      refuse(fail(EINVAL, "{}={}: expected {}", name, into, fmt::join(words, ", ")));
  }
  void refuse(tl::unexpected<Error> error) {
    if (result_) result_ = std::move(error);
  }
  [[nodiscard]] const Result<void>& result() const { return result_; }

 private:
  template <class T>
  void keep(Result<T> value, T& into) {
    if (value) into = std::move(*value);
    else if (result_) result_ = tl::make_unexpected(value.error());
  }
  const Config& config_;
  Result<void> result_;
};

/// -c: what is not given follows from the rest; the product must be the number of vCPUs.
Result<void> read_topology(const Config& config, MachineConfig& out) {
  Reader reader(config);
  u32 cpus = 0, sockets = 0, cores = 0, threads = 0;
  reader.read_count("cpus", cpus);
  reader.read_count("sockets", sockets);
  reader.read_count("cores", cores);
  reader.read_count("threads", threads);
  if (!reader.result()) return reader.result();
  const u64 package = u64{cores ? cores : 1} * (threads ? threads : 1);
  const u64 product = cpus && !sockets && cpus % package == 0 ? cpus : package * (sockets ? sockets : 1);
  if (cpus && product != cpus)
    return fail(EINVAL, "cpus={}: expected sockets x cores x threads, which is {}", cpus, product);
  if (product > max_vcpus)
    return fail(EINVAL, "cpus={}: expected 1 to {} vCPUs", product, max_vcpus);
  out.vcpus = static_cast<u32>(product);
  out.cpu.cores = cores ? cores : 1;
  out.cpu.threads = threads ? threads : 1;
  out.cpu.sockets = static_cast<u32>(product / package);
  return {};
}

/// -m: the total, split at the PCI hole.
Result<void> read_memory(const Config& config, MachineConfig& out) {
  // Guest-physical addresses have 46 bits at most on small hosts; leave room for 64-bit BARs.
  constexpr u64 highest = u64{1} << 45;
  u64 limit = layout::lowmem_limit_default;
  Reader reader(config);
  reader.read_size("memory.size", out.memory);
  reader.read_size("memory.lowmem_limit", limit);
  reader.read("memory.wired", out.wired);
  reader.read("memory.guest_in_core", out.in_core);
  reader.read("memory.prefault", out.prefault);
  reader.read_size("memory.resident", out.resident);
  reader.read("memory.swap", out.swap);
  std::string ad = "hw";
  reader.read_word("memory.ept_ad", ad, {"hw", "emulated"});
  reader.read("memory.ept_superpages", out.ept.superpages);
  reader.read("memory.ept_exec_only", out.ept.exec_only);
  if (!reader.result()) return reader.result();
  out.ept.ad_bits = ad == "hw";
  if (out.resident && out.wired)
    return fail(EINVAL, "memory.resident and -S (memory.wired) contradict each other");
  if (config.has("memory.resident") && out.resident < MiB)
    return fail(EINVAL, "memory.resident={}: expected at least 1M",
                config.raw("memory.resident").value_or(""));
  if (!out.swap.empty() && !out.resident)
    return fail(EINVAL, "memory.swap: expected memory.resident with it");
  if (out.memory < MiB || out.memory > highest)
    return fail(EINVAL, "memory.size={}: expected 1M to 32T",
                config.raw("memory.size").value_or(""));
  // Whole 2 MiB, so that no large page crosses it; the windows of the devices need the rest.
  if (limit < 2 * MiB || limit > layout::lowmem_limit_highest || limit % (2 * MiB) != 0)
    return fail(EINVAL, "memory.lowmem_limit={}: expected 2M to {}M in steps of 2M",
                config.raw("memory.lowmem_limit").value_or(""), layout::lowmem_limit_highest / MiB);
  out.memory = align_up(out.memory, page_size);
  out.lowmem_limit = limit;
  out.lowmem = std::min(out.memory, limit);
  out.highmem = out.memory - out.lowmem;
  return {};
}

Result<void> read_switches(const Config& config, MachineConfig& out) {
  Reader reader(config);
  std::string engine = "auto";
  reader.read("name", out.name);
  reader.read("boot.kernel", out.kernel);
  reader.read("boot.initrd", out.initrd);
  reader.read("boot.cmdline", out.cmdline);
  reader.read("acpi_tables", out.acpi);
  reader.read("destroy_on_poweroff", out.destroy_on_poweroff);
  reader.read("rtc.use_localtime", out.rtc_localtime);
  reader.read("process.seccomp", out.seccomp);
  reader.read("uuid", out.uuid);
  out.enable_bars = !config.has("lpc.bootrom");
  reader.read("pci.enable_bars", out.enable_bars);
  reader.read("x86.mptable", out.mptable);
  reader.read("x86.strictio", out.strict_io);
  reader.read("x86.strictmsr", out.strict_msr);
  reader.read("x86.vmexit_on_hlt", out.exit_on_hlt);
  reader.read("x86.vmexit_on_pause", out.exit_on_pause);
  reader.read_word("engine", engine, {"auto", "soft", "kvm"});
  reader.read("cpu.model", out.cpu.model);
  reader.read("cpu.features", out.cpu.features);
  reader.read_word("cpu.hypervisor", out.cpu.hypervisor, {"bhyve", "kvm", "none"});
  reader.read_word("cpu.executor", out.cpu.executor, {"interp", "translate", "check"});
  reader.read_word("cpu.speculation", out.cpu.speculation, {"fast", "safe"});
  out.cpu.direct = "on";
  reader.read_word("cpu.direct", out.cpu.direct, {"on", "off", "always"});
  reader.read_size("cpu.code_cache", out.cpu.code_cache);
  reader.read("cpu.perf_map", out.cpu.perf_map);
  reader.read("cpu.trace", out.cpu.trace);
  if (!out.cpu.trace.empty() && out.cpu.executor != "interp") {
    if (config.has("cpu.executor"))
      reader.refuse(fail(EINVAL, "cpu.trace: only with cpu.executor=interp, which executes block by block"));
    out.cpu.executor = "interp";
  }
  if (out.cpu.code_cache < MiB || out.cpu.code_cache > GiB)
    reader.refuse(fail(EINVAL, "cpu.code_cache: expected a size from 1M to 1G"));
  if (out.cpu.executor == "check" && out.resident)
    reader.refuse(fail(EINVAL, "cpu.executor=check: not with memory.resident, whose pages come and go"));
  if (engine == "kvm")
    reader.refuse(fail(ENOTSUP, "engine=kvm: not available in this build; expected auto or soft"));
  return reader.result();
}

/// -a and -x. The bit of CPUID and what the local APIC lets the guest do must agree.
Result<void> read_apic_mode(const Config& config, MachineConfig& out) {
  if (!config.has("x86.x2apic")) return {};
  const auto x2apic = config.get_bool("x86.x2apic", false);
  if (!x2apic) return tl::make_unexpected(x2apic.error());
  out.apic_mode = *x2apic ? ApicMode::x2apic : ApicMode::xapic;
  std::string& features = out.cpu.features;
  features += features.empty() ? "" : ",";
  features += *x2apic ? "+x2apic" : "-x2apic";
  return {};
}

Result<void> read_sg_memory(const Config& config, PciDevice& device) {
  const auto path = config.get_text(device.node + ".path", "");
  if (!path) return tl::make_unexpected(path.error());
  if (path->empty()) return fail(EINVAL, "{}.device=sgmem: expected path=FILE", device.node);
  const auto text = config.get_text(device.node + ".pieces", "");
  if (!text) return tl::make_unexpected(text.error());
  auto pieces = parse_pieces(*text);
  if (!pieces) return fail(EINVAL, "{}.{}", device.node, pieces.error().message);
  const auto read_only = config.get_bool(device.node + ".ro", false);
  if (!read_only) return tl::make_unexpected(read_only.error());
  device.path = *path;
  device.pieces = std::move(*pieces);
  device.read_only = *read_only;
  return {};
}

Result<void> read_pci_testdev(const Config& config, PciDevice& device) {
  constexpr u64 largest_window = 64 * GiB;
  u64 msi = device.msi, msix = device.msix;
  Reader reader(config);
  reader.read(device.node + ".msi", msi);
  reader.read(device.node + ".msix", msix);
  reader.read_size(device.node + ".window", device.window);
  reader.read(device.node + ".rom", device.rom);
  if (!reader.result()) return reader.result();
  if (msi > dev::PciTestDev::max_msi || (msi & (msi - 1)) != 0)
    return fail(EINVAL, "{}.msi={}: expected 0, 1, 2, 4, 8, 16 or 32", device.node, msi);
  if (msix > dev::PciTestDev::max_msix)
    return fail(EINVAL, "{}.msix={}: expected 0 to {}", device.node, msix, dev::PciTestDev::max_msix);
  if (device.window < page_size || device.window > largest_window ||
      (device.window & (device.window - 1)) != 0)
    return fail(EINVAL, "{}.window={}: expected a power of two from 4K to 64G", device.node,
                config.raw(device.node + ".window").value_or(""));
  device.msi = static_cast<unsigned>(msi);
  device.msix = static_cast<unsigned>(msix);
  return {};
}

Result<void> read_pci(const Config& config, MachineConfig& out) {
  bool lpc = false;
  for (const std::string& bus : config.children("pci")) {
    for (const std::string& slot : config.children("pci." + bus)) {
      for (const std::string& function : config.children("pci." + bus + '.' + slot)) {
        const std::string node = "pci." + bus + '.' + slot + '.' + function;
        if (!config.has(node + ".device")) continue;
        const auto name = config.get_text(node + ".device", "");
        if (!name) return tl::make_unexpected(name.error());
        const auto b = parse_integer(bus), s = parse_integer(slot), f = parse_integer(function);
        if (!b || !s || !f || *b > 255 || *s > 31 || *f > 7)
          return fail(EINVAL, "{}.device: expected pci.BUS.SLOT.FUNCTION.device", node);
        const DeviceName* const known = find_device(pci_devices(), *name);
        if (!known) return fail(EINVAL, "{}.device={}: unknown device", node, *name);
        if (!known->available || *b != 0) {
          out.absent.push_back(fmt::format("-s {}:{}:{},{}: {}", *b, *s, *f, *name,
                                           known->available ? "only bus 0 is in this build"
                                                            : "this device is not in this build"));
          continue;
        }
        if (*name == "lpc" && std::exchange(lpc, true))
          return fail(EINVAL, "{}.device=lpc: expected one lpc device only", node);
        out.pci.push_back({static_cast<u8>(*b), static_cast<u8>(*s), static_cast<u8>(*f), *name,
                           node});
        if (*name == "sgmem")
          if (auto ok = read_sg_memory(config, out.pci.back()); !ok) return ok;
        if (*name == "pci-testdev")
          if (auto ok = read_pci_testdev(config, out.pci.back()); !ok) return ok;
      }
    }
  }
  return read_lpc(config, lpc, out);
}

/// Parts of bhyve that are no devices of -s and that this build does not have.
Result<void> find_absent(const Config& config, MachineConfig& out) {
  for (const char* name : {"lpc.tpm"})
    if (config.has(name) || config.has_below(name))
      out.absent.push_back(
          fmt::format("-l {}: this device is not in this build", std::string_view(name).substr(4)));
  const auto port = config.get_integer("gdb.port", 0);
  if (!port) return tl::make_unexpected(port.error());
  if (*port) out.absent.push_back(fmt::format("-G {}: the debugger stub is not in this build", *port));
  for (const std::string& domain : config.children("domains"))
    out.absent.push_back(fmt::format("-n id={}: NUMA domains are not in this build", domain));
  return {};
}

/// vcpu.N.cpuset: only CPUs on which this process may run.
Result<void> read_cpusets(const Config& config, MachineConfig& out) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0)
    return fail(errno, "cannot read the process's CPU set: {}", std::strerror(errno));
  out.cpusets.resize(out.vcpus);
  for (u32 id = 0; id < out.vcpus; ++id) {
    const std::string name = fmt::format("vcpu.{}.cpuset", id);
    const auto text = config.get_text(name, "");
    if (!text) return tl::make_unexpected(text.error());
    if (text->empty()) continue;
    const auto set = parse_number_set(*text, CPU_SETSIZE);
    if (!set) return fail(EINVAL, "{}={}: expected host CPUs such as 0,2-5", name, *text);
    for (const unsigned cpu : *set)
      if (!CPU_ISSET(cpu, &allowed))
        return fail(EINVAL, "{}={}: host CPU {} does not exist or is not this process's", name,
                    *text, cpu);
    out.cpusets[id] = *set;
  }
  return {};
}

}  // namespace

Result<MachineConfig> resolve_all(const Config& config) {
  MachineConfig out;
  using Step = Result<void> (*)(const Config&, MachineConfig&);
  for (const Step step : {Step{read_topology}, Step{read_memory}, Step{read_switches},
                          Step{read_apic_mode}, Step{read_pci}, Step{find_absent},
                          Step{read_cpusets}})
    if (auto ok = step(config, out); !ok) return tl::make_unexpected(ok.error());
  auto smbios = smbios_config(out, config);
  if (!smbios) return tl::make_unexpected(smbios.error());
  out.smbios = std::move(*smbios);
  return out;
}

Result<MachineConfig> resolve(const Config& config) {
  auto out = resolve_all(config);
  if (out && !out->absent.empty()) return fail(ENOTSUP, "{}", out->absent.front());
  return out;
}

}  // namespace bhyve::machine
