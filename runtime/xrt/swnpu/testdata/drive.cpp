// drive runs one kernel through XRT, as its arguments say, and prints how that ended: "state N", or "error ERRNO TEXT".
// Usage: drive XCLBIN STREAM OUTPUT BYTES INPUT... [OPTION...]
//
// Inputs are the kernel's buffers from argument 3 on, each a file; OUTPUT, a file of BYTES, is the last. Options:
//
//	--user        the second input is a user-pointer buffer over its file, mapped read only
//	--no-sync     the first input is not synced to the device
//	--list=N      N runs in a list, in place of one
//	--cycles=N    all of it N times, from the opening of the device on
//	--contexts=N  N contexts beside
//	--npu=N       the N-th NPU, from 0
//	--deadline=MS how long to wait; then it prints "deadline" and leaves without an end to anything
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xrt/experimental/xrt_kernel.h>
#include <xrt/experimental/xrt_xclbin.h>
#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_hw_context.h>
#include <xrt/xrt_kernel.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr uint64_t opcode = 3;
constexpr int first_buffer = 3;

struct options {
	bool user = false, sync = true;
	int list = 0, cycles = 1, contexts = 0, npu = 0, deadline = 60000;
	std::vector<std::string> files;
};

std::vector<char> read_file(const std::string& path) {
	std::ifstream file(path, std::ios::binary);
	if (!file) {
		throw std::runtime_error("cannot read " + path);
	}
	return {std::istreambuf_iterator<char>(file), {}};
}

xrt::bo filled(const xrt::device& device, const std::vector<char>& data, xrt::bo::flags flags, int group, bool sync) {
	xrt::bo bo(device, data.size(), flags, group);
	memcpy(bo.map<char*>(), data.data(), data.size());
	if (sync) {
		bo.sync(XCL_BO_SYNC_BO_TO_DEVICE);
	}
	return bo;
}

// mapping is a file mapped as an artifact is.
class mapping {
public:
	explicit mapping(const std::string& path) {
		int fd = open(path.c_str(), O_RDONLY);
		struct stat status = {};
		if (fd < 0 || fstat(fd, &status) != 0) {
			throw std::runtime_error("cannot open " + path);
		}
		bytes = static_cast<size_t>(status.st_size);
		pages = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	~mapping() { munmap(pages, bytes); }
	mapping(const mapping&) = delete;
	mapping& operator=(const mapping&) = delete;

	size_t bytes;
	void* pages;
};

bool pending(ert_cmd_state state) {
	return state == ERT_CMD_STATE_NEW || state == ERT_CMD_STATE_QUEUED || state == ERT_CMD_STATE_RUNNING || state == ERT_CMD_STATE_SUBMITTED;
}

// finish waits for a run or a list: XRT's own timed waits throw, and its destructors abort while the device is at work.
template <typename Launch>
int finish(Launch& launch, int milliseconds) {
	auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
	while (pending(launch.state())) {
		if (std::chrono::steady_clock::now() > end) {
			puts("deadline");
			fflush(stdout);
			_exit(0);
		}
		std::this_thread::sleep_for(std::chrono::microseconds(50));
	}
	return launch.state();
}

int run(const options& o) {
	mapping weights(o.files[5]); // outlives the device
	xrt::device device(o.npu);
	auto id = device.register_xclbin(xrt::xclbin(o.files[0]));
	std::vector<xrt::hw_context> others;
	for (int i = 0; i < o.contexts; i++) {
		others.emplace_back(device, id);
	}
	xrt::hw_context context(device, id);
	xrt::kernel kernel(context, "MLIR_AIE");

	auto stream = read_file(o.files[1]);
	std::vector<xrt::bo> buffers = {filled(device, stream, xrt::bo::flags::cacheable, kernel.group_id(1), true)};
	for (size_t i = 4; i < o.files.size(); i++) {
		int group = kernel.group_id(first_buffer + static_cast<int>(i) - 4);
		if (o.user && i == 5) {
			buffers.emplace_back(device, weights.pages, weights.bytes, xrt::bo::flags::host_only, group);
		} else {
			buffers.push_back(filled(device, read_file(o.files[i]), xrt::bo::flags::host_only, group, o.sync || i != 4));
		}
	}
	std::vector<char> zeros(std::stoul(o.files[3]));
	auto output = filled(device, zeros, xrt::bo::flags::host_only, kernel.group_id(first_buffer), true);
	buffers.push_back(output);

	auto make = [&] {
		xrt::run r(kernel);
		r.set_arg(0, opcode);
		r.set_arg(1, buffers[0]);
		r.set_arg(2, static_cast<uint32_t>(stream.size() / 4));
		for (size_t i = 1; i < buffers.size(); i++) {
			r.set_arg(first_buffer - 1 + static_cast<int>(i), buffers[i]);
		}
		return r;
	};
	int state;
	if (o.list > 0) {
		xrt::runlist list(context);
		for (int i = 0; i < o.list; i++) {
			list.add(make());
		}
		list.execute();
		state = finish(list, o.deadline);
	} else {
		auto r = make();
		r.start();
		state = finish(r, o.deadline);
	}
	output.sync(XCL_BO_SYNC_BO_FROM_DEVICE);
	std::ofstream(o.files[2], std::ios::binary).write(output.map<char*>(), static_cast<std::streamsize>(zeros.size()));
	return state;
}

options parse(int argc, char** argv) {
	options o;
	auto number = [](const std::string& word) { return std::stoi(word.substr(word.find('=') + 1)); };
	for (int i = 1; i < argc; i++) {
		std::string word = argv[i];
		if (word == "--user") {
			o.user = true;
		} else if (word == "--no-sync") {
			o.sync = false;
		} else if (word.rfind("--list=", 0) == 0) {
			o.list = number(word);
		} else if (word.rfind("--cycles=", 0) == 0) {
			o.cycles = number(word);
		} else if (word.rfind("--contexts=", 0) == 0) {
			o.contexts = number(word);
		} else if (word.rfind("--npu=", 0) == 0) {
			o.npu = number(word);
		} else if (word.rfind("--deadline=", 0) == 0) {
			o.deadline = number(word);
		} else {
			o.files.push_back(word);
		}
	}
	if (o.files.size() < 6) {
		throw std::runtime_error("too few arguments");
	}
	return o;
}

}  // namespace

int main(int argc, char** argv) {
	try {
		auto o = parse(argc, argv);
		for (int i = 0; i < o.cycles; i++) {
			printf("state %d\n", run(o));
		}
	} catch (const std::system_error& e) {
		printf("error %d %s\n", e.code().value(), e.what());
	} catch (const std::exception& e) {
		printf("error 0 %s\n", e.what());
	}
}
