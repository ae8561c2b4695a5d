#include "host/char_open.hpp"

#include <gtest/gtest.h>

namespace bhyve::host {
namespace {

using Kind = CharSpec::Kind;

TEST(CharSpec, EachFormIsTold) {
  const struct {
    const char* text;
    Kind kind;
    const char* argument;
  } cases[] = {{"stdio", Kind::stdio, ""},
               {"/dev/ttyS0", Kind::tty, "/dev/ttyS0"},
               {"tcp=127.0.0.1:5000", Kind::tcp, "127.0.0.1:5000"},
               {"unix=run/com1", Kind::unix_socket, "run/com1"},
               {"pty", Kind::pty, ""},
               {"pty=link", Kind::pty, "link"}};
  for (const auto& [text, kind, argument] : cases) {
    const auto spec = parse_char_spec(text);
    ASSERT_TRUE(spec) << text;
    EXPECT_EQ(spec->kind, kind) << text;
    EXPECT_EQ(spec->argument, argument) << text;
  }
  for (const char* bad : {"", "x", "stdio2", "tcp=", "unix=", "pty=", "tcp=5000"})
    EXPECT_FALSE(parse_char_spec(bad)) << bad;
}

TEST(CharSpec, OpenedBackEndsAreOfTheirKind) {
  EventLoop loop("test");
  EXPECT_TRUE(open_char_backend(loop, "com1", {Kind::tcp, "127.0.0.1:0"}));
  EXPECT_TRUE(open_char_backend(loop, "com1", {Kind::pty, ""}));
  const auto missing = open_char_backend(loop, "com1", {Kind::tty, "/nonexistent/tty"});
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("/nonexistent/tty"), std::string::npos);
}

}  // namespace
}  // namespace bhyve::host
