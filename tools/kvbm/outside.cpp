// Files, standard output, signals: where the program meets the system.
module;

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

module kvbm.tool;

import kvbm.core;

namespace kvbm::tool {
namespace {

// What an interrupt must put in order. The handler, which runs on any thread, may only use these
// and call write, unlink and _exit; flags are set after what they announce.
constexpr std::string_view wipe = "\r\033[K";
std::atomic<bool> progress_is_shown = false;
std::atomic<bool> interrupted = false;  // set by the handler: nothing more is shown
std::atomic<bool> temporary_exists = false;
static_assert(std::atomic<bool>::is_always_lock_free, "what a signal handler may read");
char temporary_path[4096];

extern "C" void on_interrupt(int signal) {
    interrupted = true;
    if (progress_is_shown) {
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, wipe.data(), wipe.size());
    }
    if (temporary_exists) {
        ::unlink(temporary_path);
    }
    ::_exit(128 + signal);  // as shells tell it: 130 for an interrupt
}

Failure system_failure(std::string_view path, int error) {
    return {ExitCode::failed, std::string(path) + ": " + std::strerror(error)};
}

/// Writes everything or gives the error number.
int write_all(int file, std::string_view text) {
    while (!text.empty()) {
        const auto written = ::write(file, text.data(), text.size());
        if (written >= 0) {
            text.remove_prefix(static_cast<std::size_t>(written));
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

/// Reads to the end or gives the error number.
int read_all(int file, std::string& content) {
    char buffer[65536];
    for (;;) {
        const auto count = ::read(file, buffer, sizeof buffer);
        if (count > 0) {
            content.append(buffer, static_cast<std::size_t>(count));
        } else if (count == 0) {
            return 0;
        } else if (errno != EINTR) {
            return errno;
        }
    }
}

::mode_t access_rights_for(const std::string& target) {
    struct ::stat found{};
    if (::stat(target.c_str(), &found) == 0) {
        return found.st_mode & 07777U;
    }
    const auto mask = ::umask(0);
    ::umask(mask);
    return 0666U & ~mask;
}

/// Writes a file beside the target and renames it. The target is as it was until then.
int replace_file(const std::string& target, std::string_view text) {
    const std::string pattern = target + ".XXXXXX";
    if (pattern.size() >= sizeof temporary_path) {
        return ENAMETOOLONG;
    }
    std::memcpy(temporary_path, pattern.c_str(), pattern.size() + 1);
    temporary_exists = true;  // before it does: its name is written before the file is made
    int error = 0;
    if (const int file = ::mkstemp(temporary_path); file >= 0) {
        ::fchmod(file, access_rights_for(target));  // mkstemp makes it private
        error = write_all(file, text);
        if (::close(file) != 0 && error == 0) {
            error = errno;
        }
        if (error == 0 && ::rename(temporary_path, target.c_str()) != 0) {
            error = errno;
        }
        if (error != 0) {
            ::unlink(temporary_path);
        }
    } else {
        error = errno;
    }
    temporary_exists = false;
    return error;
}

/// Where a link leads to, so that the link stays one.
std::string followed(const std::string& path) {
    const std::unique_ptr<char, decltype([](char* text) { std::free(text); })> target(
        ::realpath(path.c_str(), nullptr));
    return target ? std::string(target.get()) : path;
}

/// Neither a regular file nor missing, so that nothing can take its place.
bool is_device(const std::string& path) {
    struct ::stat found{};
    return ::stat(path.c_str(), &found) == 0 && !S_ISREG(found.st_mode);
}

int write_to_device(const std::string& path, std::string_view text) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (file < 0) {
        return errno;
    }
    const int error = write_all(file, text);
    ::close(file);
    return error;
}

bool is_colourful(int file) {
    const char* refused = std::getenv("NO_COLOR");
    const char* terminal = std::getenv("TERM");
    return ::isatty(file) == 1 && (refused == nullptr || *refused == '\0') &&
           (terminal == nullptr || std::string_view(terminal) != "dumb");
}

}  // namespace

void watch_for_interrupts() {
    std::signal(SIGPIPE, SIG_IGN);
    for (const int signal : {SIGINT, SIGTERM}) {
        if (std::signal(signal, SIG_IGN) != SIG_IGN) {
            std::signal(signal, on_interrupt);
        }
    }
}

Result<std::string, Failure> read_file(const std::string& path) {
    std::string content;
    if (path == "-") {
        if (const int error = read_all(STDIN_FILENO, content)) {
            return failure(system_failure("standard input", error));
        }
        return content;
    }
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return failure(system_failure(path, errno));
    }
    const int error = read_all(file, content);
    ::close(file);
    if (error != 0) {
        return failure(system_failure(path, error));
    }
    return content;
}

Result<void, Failure> write_out(std::string_view text) {
    const int error = write_all(STDOUT_FILENO, text);
    if (error != 0 && error != EPIPE) {
        return failure(system_failure("standard output", error));
    }
    return {};
}

Result<void, Failure> write_out(const Report& report, OutputFormat format) {
    const auto emphasis = is_colourful(STDOUT_FILENO) ? Emphasis::terminal : Emphasis::none;
    return write_out(render(report, format, emphasis));
}

Result<void, Failure> write_file(const std::string& path, std::string_view text) {
    const int error =
        is_device(path) ? write_to_device(path, text) : replace_file(followed(path), text);
    if (error != 0) {
        return failure(system_failure(path, error));
    }
    return {};
}

ProgressLine::ProgressLine(const std::atomic<std::size_t>& done, std::size_t total, bool quiet)
    : done_(done), total_(total) {
    if (!quiet && ::isatty(STDERR_FILENO) == 1) {
        thread_ = std::thread([this] { show(); });
    }
}

ProgressLine::~ProgressLine() {
    if (!thread_.joinable()) {
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    finished_.notify_one();
    thread_.join();
    if (progress_is_shown) {
        write_all(STDERR_FILENO, wipe);
        progress_is_shown = false;
    }
}

void ProgressLine::show() {
    const auto start = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex_);
    while (!finished_.wait_for(lock, std::chrono::milliseconds(100), [this] { return stop_; })) {
        if (interrupted) {
            continue;
        }
        const std::size_t done = done_.load(std::memory_order_relaxed);
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
        const double share = static_cast<double>(done) / static_cast<double>(total_);
        progress_is_shown = true;
        write_all(STDERR_FILENO,
                  done == 0 ? fmt::format("{}0 of {} requests", wipe, with_thousands(total_))
                            : fmt::format("{}{} of {} requests, {:.0f} %, {:.0f} s left", wipe,
                                          with_thousands(done), with_thousands(total_), 100 * share,
                                          spent.count() * (1 - share) / share));
        if (interrupted) {
            write_all(STDERR_FILENO, wipe);  // the handler may have wiped before that was written
        }
    }
}

}  // namespace kvbm::tool
