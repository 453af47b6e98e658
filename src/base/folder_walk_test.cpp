#include "base/folder_walk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "base/printable.h"
#include "base/text.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class FolderWalks : public ::testing::Test {
 protected:
  FolderWalks() {
    static int counter = 0;
    root_ =
        fs::temp_directory_path() / ("millrace_walk-" + std::to_string(::getpid()) + "-" + std::to_string(counter++));
    fs::create_directories(root_);
  }
  ~FolderWalks() override { fs::remove_all(root_); }

  // "a/b" is a file, "a/" a folder, "a -> b" a link, "a |" a pipe.
  void make(const std::vector<std::string>& entries) {
    for (const std::string& entry : entries) {
      const size_t arrow = entry.find(" -> ");
      const fs::path path = root_ / entry.substr(0, std::min(arrow, entry.find(" |")));
      fs::create_directories(path.parent_path());
      if (arrow != std::string::npos) {
        fs::create_symlink(entry.substr(arrow + 4), path);
      } else if (entry.ends_with(" |")) {
        ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
      } else if (entry.ends_with('/')) {
        fs::create_directories(path);
      } else {
        std::ofstream(path) << "x";
      }
    }
  }
  static NameKind rule(std::string_view name) {
    if (name.ends_with(".tar")) return NameKind::kWanted;
    return name.ends_with(".tar.gz") ? NameKind::kDoubtful : NameKind::kOther;
  }
  std::vector<std::string> names(const FolderWalk& walk, const fs::path& below) {
    std::vector<std::string> result;
    for (const fs::path& file : walk.files) result.push_back(file.lexically_relative(below).string());
    return result;
  }

  fs::path root_;
};

struct Case {
  const char* what;
  std::vector<std::string> entries;
  std::vector<std::string> found;
  std::vector<std::string> passed_over;  // what the text must hold, once each
  int64_t num_passed_over, num_others;
};

TEST_F(FolderWalks, FindWhatIsThereAndNameTheRest) {
  const Case cases[] = {
      {"plain files and sub-folders", {"s/b.tar", "s/a.tar", "s/x/y/c.tar"}, {"a.tar", "b.tar", "x/y/c.tar"}, {}, 0, 0},
      {"a linked folder", {"disk/b.tar", "s/a.tar", "s/more -> ../disk"}, {"a.tar", "more/b.tar"}, {}, 0, 0},
      {"a linked file", {"disk/b.tar", "s/a.tar -> ../disk/b.tar"}, {"a.tar"}, {}, 0, 0},
      {"a link to a link", {"disk/b.tar", "one -> disk", "s/two -> ../one"}, {"two/b.tar"}, {}, 0, 0},
      {"a link inside a linked folder", {"d/b.tar", "e/f -> ../d", "s/e -> ../e"}, {"e/f/b.tar"}, {}, 0, 0},
      {"a loop", {"s/a/b.tar", "s/a/up -> .."}, {"a/b.tar"}, {"s/a/up (the same folder as"}, 1, 0},
      {"a link to itself", {"s/a.tar", "s/me -> me"}, {"a.tar"}, {"s/me (Too many levels of symbolic links)"}, 1, 0},
      {"two links in a circle", {"s/a/x.tar", "s/a/l -> ../b", "s/b/m -> ../a"}, {"a/x.tar"}, {"a/l (", "b/m ("}, 2, 0},
      {"two links to one folder",
       {"d/a.tar", "s/l -> ../d", "s/m -> ../d"},
       {"l/a.tar"},
       {"s/m (the same folder"},
       1,
       0},
      {"a real folder keeps its name", {"s/z/a.tar", "s/b -> z"}, {"z/a.tar"}, {"s/b (the same folder"}, 1, 0},
      {"hidden files",
       {"s/a.tar", "s/._a.tar", "s/.b.tar", "s/.DS_Store"},
       {"a.tar"},
       {"._a.tar (hidden)", ".b.tar"},
       2,
       1},
      {"hidden folders",
       {"s/a.tar", "s/.Trash-1000/b.tar", "s/x/.cache/"},
       {"a.tar"},
       {".Trash-1000 (hidden)", ".cache"},
       2,
       0},
      {"a hidden link to a folder", {"d/b.tar", "s/a.tar", "s/.d -> ../d"}, {"a.tar"}, {"s/.d (hidden)"}, 1, 0},
      {"links to nothing",
       {"s/a.tar", "s/b.tar -> gone.tar", "s/c -> /gone"},
       {"a.tar"},
       {"b.tar (a dangling link)", "s/c ("},
       2,
       0},
      {"other names", {"s/a.tar", "s/README", "s/a.json", "s/b.tar.gz"}, {"a.tar"}, {"b.tar.gz (by its name)"}, 1, 2},
      {"what is not a regular file",
       {"s/a.tar", "s/p.tar |", "s/q |"},
       {"a.tar"},
       {"p.tar (not a regular file)"},
       1,
       1},
      {"a folder with a file's name", {"s/a.tar/b.tar"}, {"a.tar/b.tar"}, {}, 0, 0},
      {"a name with control characters", {"s/.a\x1b.tar", "s/b.tar"}, {"b.tar"}, {"s/.a\\x1b.tar (hidden)"}, 1, 0},
  };
  for (const Case& tried : cases) {
    SCOPED_TRACE(tried.what);
    make(tried.entries);
    const FolderWalk walk = walk_folder(root_ / "s", rule);
    EXPECT_THAT(names(walk, root_ / "s"), ElementsAreArray(tried.found));
    EXPECT_EQ(walk.passed_over.count(), tried.num_passed_over);
    EXPECT_EQ(walk.others.count(), tried.num_others);
    for (const std::string& text : tried.passed_over) EXPECT_THAT(walk.passed_over.text(), HasSubstr(text));
    fs::remove_all(root_);
  }
}

TEST_F(FolderWalks, AFolderThatIsNamedIsWalkedThoughHiddenOrALink) {
  make({"s/.x/a.tar", "l -> s/.x"});
  for (const char* name : {"s/.x", "l"})
    EXPECT_THAT(names(walk_folder(root_ / name, rule), root_ / name), ElementsAre("a.tar"));
}

TEST_F(FolderWalks, AFlatWalkEntersNothing) {
  make({"s/a.tar", "s/x/b.tar"});
  EXPECT_THAT(names(walk_folder(root_ / "s", rule, /*is_deep=*/false), root_ / "s"), ElementsAre("a.tar"));
}

TEST_F(FolderWalks, AThousandEntriesAreOneLine) {
  std::vector<std::string> entries = {"s/a.tar"};
  for (int i = 0; i < 1000; ++i) entries.push_back("s/._" + std::to_string(i) + ".tar");
  make(entries);
  const std::string text = walk_folder(root_ / "s", rule).passed_over.text();
  EXPECT_THAT(text, HasSubstr("1,000 entries: "));
  EXPECT_LT(text.size(), 1000u);
}

// As a user who may not read everything, even where the tests run as root.
class AsUser {
 public:
  AsUser() : was_root_(::geteuid() == 0 && ::seteuid(65534) == 0) {}
  ~AsUser() {
    if (was_root_ && ::seteuid(0) != 0) std::abort();
  }

 private:
  bool was_root_;
};

TEST_F(FolderWalks, WhatMayNotBeReadIsPassedOverUnlessItIsTheRoot) {
  make({"s/a.tar", "s/lost+found/b.tar", "s/x/c.tar"});
  fs::permissions(root_ / "s/lost+found", fs::perms::none);
  {
    const AsUser user;
    const FolderWalk walk = walk_folder(root_ / "s", rule);
    EXPECT_THAT(names(walk, root_ / "s"), ElementsAre("a.tar", "x/c.tar"));
    EXPECT_THAT(walk.passed_over.text(), HasSubstr("s/lost+found (Permission denied)"));
    EXPECT_THAT(
        [&] { walk_folder(root_ / "s/lost+found", rule); },
        ThrowsMessage<DataError>(HasSubstr("s/lost+found] expected a folder that can be read, got: Permission")));
  }
  EXPECT_THAT([&] { walk_folder(root_ / "gone", rule); },
              ThrowsMessage<DataError>(HasSubstr("gone] expected a folder")));
  fs::permissions(root_ / "s/lost+found", fs::perms::owner_all);
}

TEST(Printable, ShowsWhatATerminalShould) {
  const std::pair<std::string, std::string> cases[] = {
      {"plain name.png", "plain name.png"},
      {"gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80", "gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80"},
      {"caf\xe9 1", "caf\\xe9 1"},
      {"a\nb\x1b[2J\x7f", "a\\nb\\x1b[2J\\x7f"},
      {"\xC2\x9B"
       "c",
       "\\xc2\\x9bc"},
      {"\xE2\x82", "\\xe2\\x82"},
      {"\xE2"
       "abc",
       "\\xe2"
       "abc"},
      {std::string("a\0b", 3), "a\\x00b"},
      {"\xC2\xA0", "\xC2\xA0"},
      {"back\\slash", "back\\slash"},
  };
  for (const auto& [name, shown] : cases) EXPECT_EQ(printable(name), shown);
}

TEST(WithoutPlace, LeavesWhatWasExpected) {
  EXPECT_EQ(without_place("[a.tar] expected X, got Y"), "expected X, got Y");
  EXPECT_EQ(without_place("no place"), "no place");
}

}  // namespace
}  // namespace millrace
