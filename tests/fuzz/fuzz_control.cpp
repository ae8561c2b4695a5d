// The control protocol: any bytes on the socket are answered line by line, each with one object that a
// client understands, or end that connection; and the VM behind it goes on, whatever was set in it.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "api/control_commands.hpp"
#include "api/control_server.hpp"
#include "fuzz/fuzz.hpp"
#include "machine/bare_vm.hpp"

namespace {

using namespace bhyve;
using api::ControlCommands;
using api::Json;

void require(bool promise) {
  if (!promise) std::abort();
}

constexpr std::array arguments = {
    "cpu",  "register", "value",  "base",  "limit",   "access", "capability", "state",  "address",
    "pin",  "change",   "data",   "level", "atpic",   "ioapic", "vector",     "has-error", "error",
    "length", "linear", "write",  "seconds", "offset", "cpuset", "how",       "bus",    "slot",
    "function", "count", "index", "from"};
constexpr std::array values = {
    "0", "1", "2", "3", "7", "-1", "true", "false", "255", "4096", "16777216", "4276092928",
    "4294967295", "4294967296", "9223372036854775807", "18446744073709551615", "1.5", "null", "[]",
    "[0]", "[0,1,4000000000]", "{}", "\"\"", "\"rax\"", "\"cr0\"", "\"cr3\"", "\"cr4\"", "\"efer\"",
    "\"rip\"", "\"rflags\"", "\"cs\"", "\"ss\"", "\"tr\"", "\"gdtr\"", "\"dr7\"", "\"0f3190cc\"",
    "\"f4\"", "32768", "2147483648"};

/// Bytes as a request that is well-formed: a command, then an argument and its value each.
std::string request_of(const std::uint8_t* data, std::size_t size) {
  const auto names = ControlCommands::names();
  std::string line = "{\"command\":\"" + std::string(names[data[0] % names.size()]) + '"';
  for (std::size_t i = 1; i + 1 < size && i < 24; i += 2)
    line += std::string(",\"") + arguments[data[i] % arguments.size()] +
            "\":" + values[data[i + 1] % values.size()];
  return line + "}\n";
}

/// A VM with its server. Its vCPU 0 is stepped after each input: what was set must not hurt.
class Target final {
 public:
  Target() : watchdog_([this](const std::stop_token& stop) { watch(stop); }) { renew(); }

  /// Sends the bytes as one client does and takes the answers.
  void talk(const std::string& bytes) {
    const UniqueFd client = dial();
    const auto sender = std::jthread([&] {
      (void)::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      ::shutdown(client.get(), SHUT_WR);
    });
    std::string answers;
    char buffer[4096];
    for (ssize_t n; (n = ::recv(client.get(), buffer, sizeof buffer, 0)) > 0;)
      answers.append(buffer, static_cast<std::size_t>(n));
    for (std::size_t at = 0; at < answers.size();) {
      const auto end = answers.find('\n', at);
      if (end == std::string::npos) break;  // cut off
      const std::string_view line = std::string_view(answers).substr(at, end - at);
      require(line.size() <= api::max_answer && Json::accept(line));
      const auto answer = api::parse_answer(line);
      require(answer || (answer.error().code > 0 && !answer.error().message.empty()));
      at = end + 1;
    }
  }

  void step() {
    (void)commands_->run({{"command", "resume-cpu"}, {"cpu", -1}});
    const Json trap = {{"command", "set-capability"}, {"cpu", 0}, {"capability", 1}, {"value", true}};
    require(commands_->run(trap).has_value());
    deadline_ = now() + 200;  // a vCPU in HLT, or one that waits, comes back when the VM ends
    VcpuExit exit;
    require(vm_->run(0, exit).has_value());
    deadline_ = 0;
    const bool ended = vm_->vm().suspended() != abi::SuspendHow::none;
    if (ended || ++inputs_ % 500 == 0) renew();
  }

 private:
  static long now() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  void watch(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      if (const long at = deadline_; at != 0 && now() > at) (void)vm_->suspend(abi::SuspendHow::halt);
    }
  }
  void renew() {
    server_.reset();
    commands_.reset();
    vm_.reset();
    Config config;
    config.set("cpus", "2");
    config.set("memory.size", "16M");
    auto made = machine::BareVm::create(config, nullptr, {});
    require(made.has_value());
    vm_ = std::move(*made);
    commands_.emplace(*vm_);
    // An abstract name, the kernel's choice.
    UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un any{};
    any.sun_family = AF_UNIX;
    require(::bind(listener.get(), reinterpret_cast<sockaddr*>(&any), sizeof any.sun_family) == 0);
    require(::listen(listener.get(), 8) == 0);
    length_ = sizeof address_;
    require(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address_), &length_) == 0);
    server_.emplace(std::move(listener), [this](const Json& request) { return commands_->run(request); });
  }
  UniqueFd dial() {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    require(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address_), length_) == 0);
    return fd;
  }

  std::unique_ptr<machine::BareVm> vm_;
  std::optional<ControlCommands> commands_;
  std::optional<api::ControlServer> server_;
  sockaddr_un address_{};
  socklen_t length_ = 0;
  unsigned inputs_ = 0;
  std::atomic<long> deadline_{0};
  std::jthread watchdog_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Target target;
  if (size == 0) return 0;
  // A control character begins requests by numbers, 24 bytes each; all else goes as it is.
  std::string text;
  if (data[0] < 0x20) {
    for (std::size_t at = 1; at < size && at < 1 + 8 * 24; at += 24)
      text += request_of(data + at, std::min<std::size_t>(24, size - at));
  } else {
    text.assign(data, data + size);
    text += '\n';
  }
  target.talk(text);
  target.step();
  return 0;
}

std::vector<std::vector<std::uint8_t>> fuzz_seeds() {
  std::vector<std::vector<std::uint8_t>> seeds;
  for (const std::string_view name : ControlCommands::names()) {
    const std::string text = "{\"command\":\"" + std::string(name) +
                             "\",\"cpu\":0,\"register\":\"rax\",\"value\":1,\"address\":4096}";
    seeds.emplace_back(text.begin(), text.end());
    std::vector<std::uint8_t> numbers(1 + 4 * 24);
    for (std::size_t i = 1; i < numbers.size(); ++i)
      numbers[i] = static_cast<std::uint8_t>(i * 37 + seeds.size() * 11);
    numbers[1] = static_cast<std::uint8_t>(seeds.size() / 2);
    seeds.push_back(std::move(numbers));
  }
  return seeds;
}
