#include "api/run_dir.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>

namespace bhyve::api {

std::string run_dir_path() {
  if (const char* dir = std::getenv("BHYVE_RUNDIR"); dir && *dir) return dir;
  if (::geteuid() == 0) return "/run/bhyve";
  if (const char* dir = std::getenv("XDG_RUNTIME_DIR"); dir && *dir)
    return std::string(dir) + "/bhyve";
  return fmt::format("/tmp/bhyve-{}", ::geteuid());
}

Result<UniqueFd> open_run_dir(bool create) {
  const std::string path = run_dir_path();
  if (create && ::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(errno, "{}: cannot make the run directory: {}", path, std::strerror(errno));
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    return fail(errno, "{}: cannot open the run directory: {}", path, std::strerror(errno));
  }
  struct stat st{};
  if (::fstat(fd.get(), &st) != 0)
    return fail(errno, "{}: {}", path, std::strerror(errno));
  if (st.st_uid != ::geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
    return fail(EPERM, "{}: expected a directory that only you own and may write to", path);
  return fd;
}

}  // namespace bhyve::api
