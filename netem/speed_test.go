package netem

const asProxy = "GODWIT_TEST_AS_PROXY"

func proxyProcess() int { return 0 }
