module interop/workflow

go 1.26.5

require (
	github.com/GoCodeAlone/modular v1.13.5
	github.com/GoCodeAlone/workflow v0.85.4
	interop v0.0.0
)

replace interop => ../
