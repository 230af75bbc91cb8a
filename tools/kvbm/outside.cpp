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

// What an interrupt must put in order. The handler may only read these and call write, unlink and
// _exit; ready flags are set after what they announce.
constexpr std::string_view wipe = "\r\033[K";
volatile std::sig_atomic_t progress_is_shown = 0;
volatile std::sig_atomic_t temporary_exists = 0;
char temporary_path[4096];

extern "C" void on_interrupt(int) {
    if (progress_is_shown != 0) {
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, wipe.data(), wipe.size());
    }
    if (temporary_exists != 0) {
        ::unlink(temporary_path);
    }
    ::_exit(static_cast<int>(ExitCode::interrupted));
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

}  // namespace

void watch_for_interrupts() {
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGINT, on_interrupt);
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

TemporaryFile::TemporaryFile(std::string target, std::string path)
    : target_(std::move(target)), path_(std::move(path)) {}

TemporaryFile::TemporaryFile(TemporaryFile&& other) noexcept
    : target_(std::move(other.target_)), path_(std::exchange(other.path_, {})) {}

Result<TemporaryFile, Failure> TemporaryFile::beside(const std::string& target) {
    std::string path = target + ".XXXXXX";
    expects(temporary_exists == 0, "one temporary file at a time");
    if (path.size() >= sizeof temporary_path) {
        return failure(system_failure(target, ENAMETOOLONG));
    }
    const int file = ::mkstemp(path.data());
    if (file < 0) {
        return failure(system_failure(target, errno));
    }
    std::memcpy(temporary_path, path.c_str(), path.size() + 1);
    temporary_exists = 1;
    const auto mask = ::umask(0);
    ::umask(mask);
    ::fchmod(file, 0666 & ~mask);  // as an ordinary new file; mkstemp makes it private
    ::close(file);
    return TemporaryFile(target, std::move(path));
}

Result<void, Failure> TemporaryFile::commit() {
    if (::rename(path_.c_str(), target_.c_str()) != 0) {
        return failure(system_failure(target_, errno));
    }
    temporary_exists = 0;
    path_.clear();
    return {};
}

TemporaryFile::~TemporaryFile() {
    if (!path_.empty()) {
        temporary_exists = 0;
        ::unlink(path_.c_str());
    }
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
    if (progress_is_shown != 0) {
        write_all(STDERR_FILENO, wipe);
        progress_is_shown = 0;
    }
}

void ProgressLine::show() {
    const auto start = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex_);
    while (!finished_.wait_for(lock, std::chrono::milliseconds(100), [this] { return stop_; })) {
        const std::size_t done = done_.load(std::memory_order_relaxed);
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
        const double share = static_cast<double>(done) / static_cast<double>(total_);
        progress_is_shown = 1;
        write_all(STDERR_FILENO,
                  done == 0
                      ? fmt::format("{}0 of {} requests", wipe, total_)
                      : fmt::format("{}{} of {} requests, {:.0f} %, {:.0f} s left", wipe, done,
                                    total_, 100 * share, spent.count() * (1 - share) / share));
    }
}

}  // namespace kvbm::tool
