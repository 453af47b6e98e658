#include "download/url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace {
namespace {

std::string round_trip(std::string_view text) {
  const auto url = parse_url(text);
  return url ? url->text() : "none";
}

TEST(Url, KeepsWhatItIsMadeOf) {
  const auto url = parse_url("HTTPS://Hub.Example:8443/a%20b/c?x=1&y=/2#part");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->scheme, "https");
  EXPECT_EQ(url->host, "hub.example");
  EXPECT_EQ(url->port, 8443);
  EXPECT_EQ(url->path, "/a%20b/c");
  EXPECT_EQ(url->query, "x=1&y=/2");
  EXPECT_EQ(url->origin(), "https://hub.example:8443");
  EXPECT_EQ(url->shown(), "https://hub.example:8443/a%20b/c") << "without the query, which may be a signature";
  EXPECT_EQ(round_trip("https://a"), "https://a/");
  EXPECT_EQ(round_trip("http://[::1]:80/x"), "http://[::1]/x");
  EXPECT_EQ(round_trip("https://a?q"), "https://a/?q");
}

TEST(Url, RefusesWhatTwoReadersMightReadDifferently) {
  for (const char* text : {"",
                           "https://",
                           "https:///x",
                           "ftp://a/b",
                           "file:///etc/passwd",
                           "a/b",
                           "//a/b",
                           "https://user@a/",
                           "https://u:p@a/",
                           "https://a:0/",
                           "https://a:65536/",
                           "https://a:/",
                           "https://a:1x/",
                           "https://a b/",
                           "https://a/b c",
                           "https://a/\n",
                           "https://a\\@b/",
                           "https://a/\\b",
                           "https://[::1/",
                           "https://[x]/",
                           "https://a..b/",
                           "https://.a/",
                           "https://a/\x7f",
                           "https://a/\xc3\xa9",
                           "https://a%2eb/",
                           "https://a/<b>",
                           "https://-a/"}) {
    EXPECT_EQ(round_trip(text), "none") << text;
  }
  EXPECT_EQ(round_trip(std::string("https://a/\0b", 12)), "none");
  EXPECT_EQ(round_trip("https://a/" + std::string(20000, 'x')), "none");
}

TEST(Url, IsSafeWhenEncryptedOrOnThisMachine) {
  for (const char* text :
       {"https://a/", "http://localhost:1/", "http://127.0.0.1/", "http://127.8.9.1:80/", "http://[::1]/"}) {
    EXPECT_TRUE(parse_url(text)->is_safe()) << text;
  }
  for (const char* text : {"http://a/", "http://127.0.0.1.example/", "http://localhost.example/", "http://192.0.2.1/",
                           "http://127.example/", "http://[::2]/"}) {
    EXPECT_FALSE(parse_url(text)->is_safe()) << text;
  }
}

TEST(Url, ResolvesReferences) {
  const Url base = *parse_url("https://a:8/b/c/d?q");
  const auto resolved = [&](std::string_view reference) {
    const auto url = resolve_url(base, reference);
    return url ? url->text() : "none";
  };
  EXPECT_EQ(resolved("https://x/y?z"), "https://x/y?z");
  EXPECT_EQ(resolved("//x/y"), "https://x/y");
  EXPECT_EQ(resolved("/y?z"), "https://a:8/y?z");
  EXPECT_EQ(resolved("g"), "https://a:8/b/c/g");
  EXPECT_EQ(resolved("./g/"), "https://a:8/b/c/g/");
  EXPECT_EQ(resolved("../g"), "https://a:8/b/g");
  EXPECT_EQ(resolved("../../../../g"), "https://a:8/g");
  EXPECT_EQ(resolved("/a/./b/../c/.."), "https://a:8/a/");
  EXPECT_EQ(resolved("?y"), "https://a:8/b/c/d?y");
  EXPECT_EQ(resolved("#s"), "https://a:8/b/c/d?q");
  EXPECT_EQ(resolved("mailto:x"), "none");
  EXPECT_EQ(resolved("javascript:alert(1)"), "none");
}

TEST(Url, EncodesNames) {
  EXPECT_EQ(percent_encode("a b/ä+#?%&"), "a%20b/%C3%A4%2B%23%3F%25%26");
  EXPECT_EQ(percent_encode("refs/pr/1", false), "refs%2Fpr%2F1");
  EXPECT_EQ(percent_encode("A-z0.9_~"), "A-z0.9_~");
}

}  // namespace
}  // namespace millrace
